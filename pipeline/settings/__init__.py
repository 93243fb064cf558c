"""Settings of the pipeline, one file a concern. `pipeline.config` puts them together."""
