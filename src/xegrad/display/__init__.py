"""What people look at: one file a picture.  rich is imported only when something is drawn."""
