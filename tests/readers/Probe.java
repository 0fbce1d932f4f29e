import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import loci.common.DebugTools;
import loci.common.services.ServiceFactory;
import loci.formats.FormatTools;
import loci.formats.IFormatReader;
import loci.formats.ImageReader;
import loci.formats.meta.IMetadata;
import loci.formats.services.OMEXMLService;

/** Reads paths from standard input, and says of each on one line of JSON what Bio-Formats finds there. */
class Probe {
  public static void main(String[] args) throws Exception {
    DebugTools.enableLogging("WARN");
    OMEXMLService service = new ServiceFactory().getInstance(OMEXMLService.class);
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    java.io.PrintStream out = new java.io.PrintStream(System.out, true, "UTF-8");
    for (String path; (path = lines.readLine()) != null; ) {
      String answer;
      try (ImageReader reader = new ImageReader()) {
        IMetadata metadata = service.createOMEXMLMetadata();
        reader.setMetadataStore(metadata);
        reader.setId(path);
        answer = json(Map.of("reader", reader.getFormat(), "files", List.of(reader.getUsedFiles()),
            "xml", service.getOMEXML(metadata), "series", series(reader)));
      } catch (Exception e) {
        answer = json(Map.of("error", e.toString()));
      }
      out.println(answer);
    }
  }

  private static List<Object> series(IFormatReader reader) throws Exception {
    List<Object> found = new ArrayList<>();
    for (int s = 0; s < reader.getSeriesCount(); s++) {
      reader.setSeries(s);
      Map<String, Object> one = new LinkedHashMap<>();
      one.put("t", reader.getSizeT());
      one.put("c", reader.getSizeC());
      one.put("z", reader.getSizeZ());
      one.put("y", reader.getSizeY());
      one.put("x", reader.getSizeX());
      one.put("type", FormatTools.getPixelTypeString(reader.getPixelType()));
      one.put("little", reader.isLittleEndian());
      List<Object> planes = new ArrayList<>();
      for (int t = 0; t < reader.getSizeT(); t++) {
        for (int c = 0; c < reader.getEffectiveSizeC(); c++) {
          for (int z = 0; z < reader.getSizeZ(); z++) {
            planes.add(Base64.getEncoder().encodeToString(reader.openBytes(reader.getIndex(z, c, t))));
          }
        }
      }
      one.put("planes", planes);
      found.add(one);
    }
    return found;
  }

  private static String json(Object value) {
    if (value instanceof Map<?, ?> map) {
      List<String> items = new ArrayList<>();
      map.forEach((key, item) -> items.add(json(key) + ":" + json(item)));
      return "{" + String.join(",", items) + "}";
    }
    if (value instanceof List<?> list) {
      return "[" + String.join(",", list.stream().map(Probe::json).toList()) + "]";
    }
    if (value instanceof Number || value instanceof Boolean) {
      return value.toString();
    }
    StringBuilder text = new StringBuilder("\"");
    for (char letter : value.toString().toCharArray()) {
      text.append(letter < ' ' || letter > '~' || letter == '"' || letter == '\\'
          ? String.format("\\u%04x", (int) letter) : String.valueOf(letter));
    }
    return text.append('"').toString();
  }
}
