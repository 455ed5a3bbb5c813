"""The applications of `frameworks`, each in the middleware as the README says."""

import frameworks

from wsmiddleware import WebSocketMiddleware

flask_app = frameworks.flask_app
flask_app.wsgi_app = WebSocketMiddleware(flask_app.wsgi_app)

bottle_app = WebSocketMiddleware(frameworks.bottle_app)

wsgi_app = WebSocketMiddleware(frameworks.wsgi_app)
