"""Encoders: models that read a text in both directions (BERT and ModernBERT), for masked words, pairs and classes."""
