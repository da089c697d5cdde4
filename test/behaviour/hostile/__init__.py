"""What attackers, broken peers and bad luck try."""
