from flower import urls as urls
