"""What each command of `veriscope` takes. What it does is imported when it is called."""
