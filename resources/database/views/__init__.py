"""Views and functions as SQL files, applied in the order of their names after every migration."""
