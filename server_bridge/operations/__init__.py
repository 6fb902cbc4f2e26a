"""What staff and admins do at the bridge's host: the commands behind `ferry-bridge`."""
