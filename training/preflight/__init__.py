"""What is checked and predicted before the first step."""
