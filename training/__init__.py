"""Point-in-time sets, models, calibration, the precision contract, and saved bundles."""
