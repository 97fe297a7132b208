"""What the product assumes about the Asleep API, held against responses."""
