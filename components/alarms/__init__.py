from components.alarms.component import alarms

__all__ = ["alarms"]
