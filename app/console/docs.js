// The page of the API: Swagger UI on this installation's own document. Nothing is loaded from elsewhere, and a token
// that is entered stays in this page.

window.SwaggerUIBundle({
  domNode: document.getElementById("docs"),
  url: "openapi.json",
  validatorUrl: null,
  deepLinking: true,
  persistAuthorization: false,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
});
