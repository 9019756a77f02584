"""What people look at: one file a view, and one for each way to lay it out.  rich is imported only to draw."""
