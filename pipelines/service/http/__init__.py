"""HTTP of the service: connections, bodies, clients, errors."""
