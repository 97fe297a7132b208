"""Views as SQL files, applied in the order of their names after every migration. Not here: tables."""
