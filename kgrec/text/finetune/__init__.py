"""Fine-tuning of text encoders and cross-encoders."""
