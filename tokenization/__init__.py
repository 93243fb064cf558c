"""Train, load and run tokenizers; token roles; fast engines and their audit; streaming decode. No torch."""
