"""What encoders are for: masks filled, texts classified, embedded and compared."""
