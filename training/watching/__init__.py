"""What goes wrong while a model trains: noticed, named by its samples, and answered."""
