//! The pod port: scripts run in containers by the Kubernetes exec API.
