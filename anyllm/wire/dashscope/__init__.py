"""DashScope: the native API of Alibaba's Model Studio."""
