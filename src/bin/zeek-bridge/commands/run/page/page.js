const events = new EventSource("/api/v1/events");
events.addEventListener("status", (event) => {
  document.getElementById("status").textContent = JSON.stringify(JSON.parse(event.data), null, 2);
});
