"""The HTTP service: events in, tags, propensities and customer lifetime values out."""
