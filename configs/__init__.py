"""Settings, the home directory, and the declarations the rest of Tagtide reads."""
