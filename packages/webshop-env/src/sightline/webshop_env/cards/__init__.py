"""What a catalogue is made of, for people who choose among data."""
