"""Random cut forests with the interfaces of other libraries: one module for each library."""
