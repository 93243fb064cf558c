"""`--batch_file`: many prompts from a file, their texts in another, which a killed run goes on with."""
