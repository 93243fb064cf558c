"""From a trained model to text: sampling, decoding, prompts, chat, batches, the interactive loop."""
