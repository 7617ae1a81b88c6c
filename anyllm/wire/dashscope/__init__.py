"""Alibaba's DashScope (Model Studio), in its own format."""
