"""Steps that several assets and jobs share."""
