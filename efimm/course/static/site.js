// What a page of the site does by itself.

// No browser starts Lite from a disk.
if (location.protocol === "file:") {
  for (const link of document.querySelectorAll("a.live")) link.replaceWith("To run it live: efimm room");
}
