"""Numbers with what rounding may have done to them, and the arithmetic that rounds."""
