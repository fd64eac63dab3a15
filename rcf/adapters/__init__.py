"""Random cut forests behind the interfaces of other libraries: one module for each library, imported by its user."""
