"""What a model is trained for: a task says what it reads, what it minimises and how it is judged."""
