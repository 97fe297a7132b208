"""HTTP with the API: connections, deadlines, proxies."""
