"""The settings of training, a file for each concern; `training.config` puts them together."""
