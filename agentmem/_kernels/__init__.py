"""The compiled kernels, one extension module for each ``cython_kernels/*.pyx``; empty in a portable build."""
