"""What was promised, what came true, and what to do about it."""
