"""Peers and limits beside us, interleaved in one run. ``make bench`` runs them all and prints one table."""
