"""Where the numbers are computed: devices, formats, compilation, several processes."""
