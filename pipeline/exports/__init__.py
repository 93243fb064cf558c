"""Other people's formats, one file each. `pipeline.export` is the command."""
