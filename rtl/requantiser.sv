/// Hidden elements to int8 while wo reads them: (top 16 bits of value << shift) * reciprocal, rounded half up at bit 24.
/// `Width` elements a cycle, three cycles latency, no handshake: the caller tracks what is valid.
module requantiser #(
    parameter int unsigned Width = 8
) (
    input  logic                clk_i,
    input  logic                enable_i,
    input  logic [         4:0] shift_i,
    input  logic [        15:0] reciprocal_i,
    input  logic [32*Width-1:0] values_i,
    output logic [ 8*Width-1:0] codes_o
);

  for (genvar i = 0; i < Width; i++) begin : g_element
    logic [31:0] shifted, rounded, product_q;
    logic [15:0] normal_q;
    logic [ 7:0] code_q;
    assign shifted = values_i[32*i+:32] << shift_i;
    assign rounded = product_q + 32'h0080_0000;
    always_ff @(posedge clk_i) begin
      if (enable_i) begin
        normal_q  <= shifted[31:16];
        product_q <= 32'(normal_q) * 32'(reciprocal_i);
        code_q    <= rounded[31:24];
      end
    end
    assign codes_o[8*i+:8] = code_q;
  end

`ifndef SYNTHESIS
  logic settled_q = 1'b0, enabled_q;
  logic [20:0] scale_q;
  always_ff @(posedge clk_i) begin
    settled_q <= 1'b1;
    enabled_q <= enable_i;
    scale_q   <= {shift_i, reciprocal_i};
    assert (!(settled_q && enable_i && enabled_q) || scale_q == {shift_i, reciprocal_i})
    else $error("requantiser: the scale changed while it was in use");
  end
`endif

endmodule
