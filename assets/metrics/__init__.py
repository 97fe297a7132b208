"""Monthly averages, computed in SQL, and sleep metrics of weeks and months, computed with pandas and numpy."""
