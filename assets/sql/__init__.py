"""SQL that assets run, one statement a file. Not here: structure, and the code that binds parameters."""
