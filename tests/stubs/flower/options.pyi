from tornado.options import OptionParser

default_options: OptionParser
