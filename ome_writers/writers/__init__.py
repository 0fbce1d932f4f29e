"""Writers: the only modules that import a library for input and output. `ome_writers.writer` lists them by name."""
