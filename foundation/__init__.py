"""Ground floor: configuration, atomic writes, fingerprints, random streams, locks, devices. Imports nothing of ours."""
