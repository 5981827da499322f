"""What a machine has done over time: its scores, its alarms and silences, and the plot of both."""
