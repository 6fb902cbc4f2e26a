"""What the bridge tells people by itself: outages, lifetimes, people who left; and the mails about it."""
