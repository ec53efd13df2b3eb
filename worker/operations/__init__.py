"""What operators do: one service layer, and its three faces: command line, dashboard and doctor."""
