"""Encoders: BERT and ModernBERT."""
